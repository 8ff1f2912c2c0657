"""``maze completion``, and how the answers to TAB reach each shell.

click asks what completes a word and brings the protocol of three shells. Ours differ from click's
where overrides need it: bash splits words at ``=`` and ``:``, a comma is part of a value, a path may
follow a key, and no space follows ``env=``.
"""

from __future__ import annotations

import contextlib
import io
import os
from pathlib import PurePath

import click
from click.shell_completion import (
    BashComplete,
    CompletionItem,
    FishComplete,
    ShellComplete,
    ZshComplete,
    add_completion_class,
    get_completion_class,
    split_arg_string,
)

from maze_core.errors import unknown_name

BASH = r"""%(complete_func)s() {
    local IFS=$'\n' line response
    response=$(env %(complete_var)s=bash_complete COMP_LINE="${COMP_LINE:0:COMP_POINT}" COMP_WORD="$2" \
        "${1/#\~\//$HOME/}" 2>/dev/null)
    COMPREPLY=()
    while read -r line; do
        case $line in
            plain,*) COMPREPLY+=("${line#*,}") ;;
            dir,*) compopt -o dirnames ;;
            file,*) compopt -o default ;;
        esac
    done <<< "$response"
    if [[ ${#COMPREPLY[@]} == 1 && ${COMPREPLY[0]} == *[=.] ]]; then
        compopt -o nospace
    fi
}

complete -o nosort -F %(complete_func)s maze maze-run
"""

ZSH = r"""#compdef maze maze-run

%(complete_func)s() {
    local -a response plain described open_plain open_described
    local type key descr
    response=("${(@f)$(env %(complete_var)s=zsh_complete COMP_WORDS="${(j: :)words[1,CURRENT-1]} $PREFIX" \
        COMP_CWORD=$((CURRENT-1)) ${~words[1]} 2>/dev/null)}")
    for type key descr in "${response[@]}"; do
        if [[ $type == dir || $type == file ]]; then
            [[ $PREFIX == *=* ]] && compset -P '*='
            if [[ $type == dir ]]; then _files -/; else _files; fi
        elif [[ $type == plain && $descr == _ ]]; then
            if [[ $key == *[=.] ]]; then open_plain+=("$key"); else plain+=("$key"); fi
        elif [[ $type == plain ]]; then
            if [[ $key == *[=.] ]]; then open_described+=("$key:$descr"); else described+=("$key:$descr"); fi
        fi
    done
    (( $#open_described )) && _describe -V overrides open_described -S ''
    (( $#described )) && _describe -V names described
    (( $#open_plain )) && compadd -V overrides -S '' -a open_plain
    (( $#plain )) && compadd -V names -a plain
}

if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
    %(complete_func)s "$@"
else
    (( $+functions[compdef] )) || { autoload -Uz compinit && compinit }
    compdef %(complete_func)s maze maze-run
fi
"""

FISH = r"""function %(complete_func)s
    set -l program (string replace -r '^~/' $HOME/ (commandline -opc)[1])
    set -l word (commandline -ct)
    set -lx %(complete_var)s fish_complete
    set -lx COMP_WORDS (commandline -cp)
    set -lx COMP_CWORD $word
    for answer in ($program 2>/dev/null)
        set -l parts (string split -m 1 , -- $answer)
        switch $parts[1]
            case plain
                echo $parts[2]
            case dir
                printf '%%s\n' $parts[2](__fish_complete_directories (string replace -- $parts[2] '' $word))
            case file
                printf '%%s\n' $parts[2](__fish_complete_path (string replace -- $parts[2] '' $word))
        end
    end
end

complete --keep-order --no-files --command maze --arguments "(%(complete_func)s)"
complete --keep-order --no-files --command maze-run --arguments "(%(complete_func)s)"
"""


class _Quiet(ShellComplete):
    """Answers with whole words, and with nothing where anything goes wrong.

    The value of an item that the shell completes as a path is what stands before the path.
    """

    def get_completions(self, args: list[str], incomplete: str) -> list[CompletionItem[str]]:
        """What completes a word; whatever a plugin prints or raises stays unheard."""
        option = incomplete.partition("=")[0] + "=" if incomplete.startswith("-") and "=" in incomplete else ""
        nowhere = io.StringIO()
        try:
            with contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):
                items = super().get_completions(args, incomplete)
        except Exception:  # a traceback in the middle of a command line helps nobody
            return []
        for item in items:
            item.value = option + item.value if item.type == "plain" else incomplete.removesuffix(item.value)
            item.help = " ".join(item.help.split()) if item.help else None
        return [item for item in items if item.type != "plain" or item.value.startswith(incomplete)]


@add_completion_class
class Bash(_Quiet, BashComplete):
    """bash, which completes only what follows the last ``=`` or ``:``."""

    source_template = BASH
    skipped = 0

    def get_completion_args(self) -> tuple[list[str], str]:
        """Words from the line itself; bash's own are split at ``=`` and ``:``."""
        words = split_arg_string(os.environ["COMP_LINE"] + "|")  # the mark ends the last word, empty or not
        incomplete, part = words[-1][:-1], os.environ["COMP_WORD"]
        self.skipped = len(incomplete) - len(part) if incomplete.endswith(part) else incomplete.rfind("=") + 1
        return words[1:-1], incomplete

    def format_completion(self, item: CompletionItem[str]) -> str:
        """Leaves out what bash does not count as part of the word."""
        return f"{item.type},{item.value[self.skipped :]}"


@add_completion_class
class Zsh(_Quiet, ZshComplete):
    """zsh, which shows what each word means."""

    source_template = ZSH


@add_completion_class
class Fish(_Quiet, FishComplete):
    """fish, which shows what each word means."""

    source_template = FISH


INSTALL = {
    "bash": ("maze completion bash > ~/.maze-completion.bash", "echo 'source ~/.maze-completion.bash' >> ~/.bashrc"),
    "zsh": ("maze completion zsh > ~/.maze-completion.zsh", "echo 'source ~/.maze-completion.zsh' >> ~/.zshrc"),
    "fish": ("mkdir -p ~/.config/fish/conf.d", "maze completion fish > ~/.config/fish/conf.d/maze.fish"),
}


def _complete_shell(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem[str]]:
    return [CompletionItem(shell) for shell in INSTALL if shell.startswith(incomplete)]


@click.command("completion")
@click.argument("shell", metavar="|".join(INSTALL), required=False, shell_complete=_complete_shell)
def command(shell: str | None) -> None:
    """Print the script that completes maze and maze-run in a shell; without a shell, how to install it."""
    if shell is None:
        click.echo(_instructions(PurePath(os.environ.get("SHELL", "")).name))
        return
    cls = get_completion_class(shell) if shell in INSTALL else None
    if cls is None:
        raise click.UsageError(unknown_name("shell", shell, INSTALL))
    click.echo(cls(click.get_current_context().command, {}, "maze", "_MAZE_COMPLETE").source(), nl=False)


def _instructions(shell: str) -> str:
    if shell not in INSTALL:
        return f"Say which shell: {', '.join(f'maze completion {name}' for name in INSTALL)} print its script."
    others = " and ".join(f"maze completion {name}" for name in INSTALL if name != shell)
    steps = "\n".join(f"    {step}" for step in INSTALL[shell])
    return f"For {shell}, run this once and start a new shell:\n\n{steps}\n\nOther shells: {others}."
