"""The completion of graft in real shells: what the printed scripts offer. fish is tried where it is installed."""

import os
import shutil
import subprocess

import pytest

from conftest import BUILD, free_port

GRAFT = BUILD / "bin/graft"
# As readline calls it: with the words of the line, which it also cuts at = and :.
BASH = r"""
eval "$SCRIPT"
complete -p graft >/dev/null || exit 1
COMP_LINE=$LINE COMP_POINT=${#LINE}
mapfile -t COMP_WORDS < <(sed -E 's/([=:]+)/\n\1\n/g; s/[ \n]+/\n/g' <<<"$LINE")
COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
_graft
printf '%s\n' "${COMPREPLY[@]}"
"""
FISH = r"""
echo $SCRIPT | source
complete -C $LINE | string replace -r '\t.*' ''; true
"""
PROGRAMS = {"bash": ["bash", "--norc", "--noprofile", "-c", BASH], "fish": ["fish", "--no-config", "-c", FISH]}
SHELLS = [pytest.param(shell, marks=pytest.mark.skipif(shutil.which(shell) is None, reason=f"there is no {shell} here")) for shell in PROGRAMS]


def offered(shell, line, server, folder):
    """What the shell offers behind `line`."""
    script = subprocess.run([GRAFT, "completion", shell], capture_output=True, text=True, check=True).stdout
    environment = {"PATH": f"{GRAFT.parent}:{os.environ['PATH']}", "GRAFT_SERVER": server, "HOME": str(folder), "LC_ALL": "C.UTF-8", "TERM": "dumb",
                   "SCRIPT": script, "LINE": line}
    answer = subprocess.run(PROGRAMS[shell], env=environment, cwd=folder, capture_output=True, text=True, check=True)
    assert answer.stderr == ""
    return answer.stdout.split()


@pytest.mark.parametrize("shell", SHELLS)
def test_what_is_typed_is_completed(shell, loaded, tmp_path):
    def complete(line, server=loaded.address):
        return offered(shell, line, server, tmp_path)

    assert complete("graft sub") == ["submit"]
    assert complete("graft adapters d") in (["download", "delete"], ["delete", "download"])
    assert complete("graft jobs --stat") == ["--state"]
    assert complete("graft jobs --output c") == ["csv"]
    # Readline replaces only what stands behind the last = or :.
    assert complete("graft jobs --output=c") == (["csv"] if shell == "bash" else ["--output=csv"])
    assert complete("graft submit --base-model ") == ["tiny"]
    assert complete("graft submit --base-model tiny --train v") == ["valid"]
    assert complete(f"graft --server {loaded.address} submit --train t", server="127.0.0.1:1") == ["train"]
    assert complete("graft submit --train $(touch${IFS}here)") == []
    assert list(tmp_path.glob("here*")) == []


@pytest.mark.parametrize("shell", SHELLS)
def test_without_a_server_there_is_silence(shell, tmp_path):
    nobody = f"127.0.0.1:{free_port()}"
    assert offered(shell, "graft show jobs/", nobody, tmp_path) == []
    assert offered(shell, "graft wai", nobody, tmp_path) == ["wait"]


def test_zsh_reads_its_script():
    if shutil.which("zsh") is None:
        pytest.skip("there is no zsh here")
    script = subprocess.run([GRAFT, "completion", "zsh"], capture_output=True, text=True, check=True).stdout
    subprocess.run(["zsh", "-f", "-c", "autoload -Uz compinit && compinit -u -D; eval \"$SCRIPT\"; [[ $_comps[graft] == _graft ]]"],
                   env={"PATH": os.environ["PATH"], "HOME": "/nonexistent", "SCRIPT": script}, check=True)
