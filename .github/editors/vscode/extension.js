// Starts `fwdscope lsp` and hands its answers to VS Code.
"use strict";

const path = require("node:path");
const vscode = require("vscode");
const { LanguageClient, RevealOutputChannelOn } = require("vscode-languageclient/node");

/** @type {LanguageClient | undefined} */
let client;

/** The program of the settings; one that is named by a path is of the first folder. */
function program() {
  const [command, ...args] = vscode.workspace.getConfiguration("fwdscope").get("command", ["fwdscope", "lsp"]);
  const folder = vscode.workspace.workspaceFolders?.[0]?.uri.fsPath;
  const isRelative = /[\\/]/.test(command) && !path.isAbsolute(command);
  return { command: isRelative && folder ? path.join(folder, command) : command, args, options: { cwd: folder } };
}

async function start() {
  const documentSelector = ["yaml", "fwdscope"].map((language) => ({ scheme: "file", language }));
  client = new LanguageClient("fwdscope", "fwdscope", program(), {
    documentSelector,
    revealOutputChannelOn: RevealOutputChannelOn.Never,
  });
  try {
    await client.start();
  } catch (error) {
    const chosen = await vscode.window.showErrorMessage(
      `fwdscope did not start: ${error.message}. Install it with pip install 'fwdscope[editor]', or name it in fwdscope.command.`,
      "Settings",
    );
    if (chosen) await vscode.commands.executeCommand("workbench.action.openSettings", "fwdscope.command");
  }
}

async function stop() {
  const running = client;
  client = undefined;
  if (running?.needsStop()) await running.stop();
}

/** Runs a command of the server for the file that is shown. */
async function run(command) {
  const editor = vscode.window.activeTextEditor;
  if (!editor || !client?.isRunning()) return;
  try {
    await client.sendRequest("workspace/executeCommand", { command, arguments: [editor.document.uri.toString()] });
  } catch (error) {
    vscode.window.showErrorMessage(error.message);
  }
}

exports.activate = async function activate(context) {
  context.subscriptions.push(
    vscode.commands.registerCommand("fwdscope.writePromises", () => run("fwdscope.annotate")),
    vscode.commands.registerCommand("fwdscope.showReport", () => run("fwdscope.openReport")),
    vscode.commands.registerCommand("fwdscope.restart", async () => {
      await stop();
      await start();
    }),
    vscode.workspace.onDidChangeConfiguration(async (event) => {
      if (!event.affectsConfiguration("fwdscope.command")) return;
      await stop();
      await start();
    }),
  );
  await start();
};

exports.deactivate = stop;
