#!/usr/bin/env bash
# Keeps one comment on a pull request up to date: the check, and what moved against the base branch.
# Takes from the environment: PULL_REQUEST, BASE_REF, GITHUB_REPOSITORY, GH_TOKEN, TARGETS, ALLOW_IMPORT.
set -euo pipefail
set -f    # fwdscope expands globs
mark="<!-- fwdscope check -->"
body=$(mktemp)
read -r -d '' -a targets <<< "$TARGETS" || true

options=()
if [ "$ALLOW_IMPORT" = true ]; then options+=(--allow-import); fi
{
  echo "$mark"
  fwdscope check --format markdown "${options[@]}" -- "${targets[@]}" || true
} > "$body"
git fetch --quiet --depth=1 origin "$BASE_REF"
git diff --name-only --diff-filter=M FETCH_HEAD -- '*.yaml' '*.yml' | while IFS= read -r file; do
  if moved=$(fwdscope diff "$file@FETCH_HEAD" "$file" --format markdown 2>/dev/null); then
    printf '\n<details><summary>%s against %s</summary>\n\n%s\n\n</details>\n' "$file" "$BASE_REF" "$moved" >> "$body"
  fi
done

comments="repos/$GITHUB_REPOSITORY/issues/$PULL_REQUEST/comments"
known=$(gh api --paginate "$comments" --jq ".[] | select(.body | startswith(\"$mark\")) | .id" | head -n 1)
if [ -n "$known" ]; then
  gh api --silent -X PATCH "repos/$GITHUB_REPOSITORY/issues/comments/$known" -F "body=@$body"
else
  gh api --silent "$comments" -F "body=@$body"
fi
