-- Drives Neovim as a user would: opens the file named by $SPEC, types, looks, mends, renames. Writes what it saw as JSON.
local seen = {}

local function wait(what, ready)
  if not vim.wait(30000, ready, 10) then
    seen.failed = what
    error(what)
  end
end

local function text()
  return table.concat(vim.api.nvim_buf_get_lines(0, 0, -1, false), "\n")
end

local function hints()
  local found = {}
  for _, one in ipairs(vim.lsp.inlay_hint.get({ bufnr = 0 })) do
    found[#found + 1] = { one.inlay_hint.position.line + 1, one.inlay_hint.label }
  end
  return found
end

local function problems()
  return vim.tbl_map(function(one)
    return { one.lnum + 1, one.code, one.message }
  end, vim.diagnostic.get(0))
end

local function steps()
  -- What the README has people write in init.lua.
  assert(load(vim.env.INIT))()
  vim.cmd.edit(vim.env.SPEC)
  wait("hints", function() return #hints() > 0 end)
  seen.hints = hints()
  -- Typing: the last line becomes a name with two letters swapped.
  vim.api.nvim_win_set_cursor(0, { 6, 0 })
  vim.api.nvim_feedkeys(vim.keycode("0fLCLinaer(10)<Esc>"), "tx", false)
  seen.typed = text()
  wait("problem", function() return #problems() > 0 end)
  seen.problems = problems()
  wait("other hints", function() return #hints() == 1 end)
  seen.left = hints()
  -- The fix that is offered, applied.
  vim.lsp.buf.code_action({ apply = true, filter = function(action) return action.title == "Write Linear" end })
  wait("fix", function() return text():find("Linear%(10%)") ~= nil end)
  wait("no problem", function() return #problems() == 0 end)
  wait("hints again", function() return #hints() == 2 end)
  seen.again = hints()
  -- The page of the layer under the cursor, in the window that floats.
  vim.api.nvim_win_set_cursor(0, { 5, 14 })
  vim.lsp.buf.hover()
  local window
  wait("hover", function()
    for _, one in ipairs(vim.api.nvim_list_wins()) do
      if vim.api.nvim_win_get_config(one).relative ~= "" then window = one end
    end
    return window ~= nil
  end)
  seen.page = table.concat(vim.api.nvim_buf_get_lines(vim.api.nvim_win_get_buf(window), 0, -1, false), "\n")
  vim.api.nvim_win_close(window, true)
  -- A var gets another name wherever it is read.
  vim.api.nvim_win_set_cursor(0, { 1, 7 })
  vim.lsp.buf.rename("width")
  wait("rename", function() return text():find("width", 1, true) ~= nil end)
  seen.renamed = text()
  seen.formatted = vim.lsp.buf.format({ timeout_ms = 5000 })
  vim.lsp.stop_client(vim.lsp.get_clients())
end

local ok, problem = pcall(steps)
if not ok then
  seen.error = tostring(problem)
end
vim.fn.writefile({ vim.json.encode(seen) }, vim.env.SEEN)
vim.cmd("qa!")
