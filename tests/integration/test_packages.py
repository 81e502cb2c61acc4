"""What `cmake --install` and tools/package's packages put onto a machine, and that it runs from there."""

import os
import re
import shutil
import stat
import subprocess

import pytest

from conftest import BUILD, Graft, load

COMPONENTS = ("client", "server", "worker")


def install(root, *components):
    """The components below `root`, as cmake --install leaves them on a machine."""
    for component in components:
        subprocess.run(["cmake", "--install", BUILD, "--prefix", "/usr", "--component", component], env={**os.environ, "DESTDIR": str(root)},
                       check=True, capture_output=True)
    return root / "usr"


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    # Half a gigabyte of LibTorch, which goes at once.
    root = tmp_path_factory.mktemp("root")
    yield install(root, *COMPONENTS)
    shutil.rmtree(root)


def files(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir()}


def test_each_file_is_where_debian_and_systemd_look_for_it(installed):
    found = files(installed)
    assert {"bin/graft", "bin/graft-server", "bin/graft-worker", "bin/graft-engine", "share/man/man1/graft.1.gz", "share/man/man1/graft-adapters-merge.1.gz",
            "share/bash-completion/completions/graft", "share/zsh/vendor-completions/_graft", "share/fish/vendor_completions.d/graft.fish",
            "lib/systemd/system/graft-server.service", "lib/systemd/system/graft-worker.service", "lib/sysusers.d/graft-server.conf",
            "lib/sysusers.d/graft-worker.conf", "share/graft/prometheus/alerts.yml", "share/graft/grafana/dashboards/service.json"} <= found
    assert not (installed.parent / "etc").exists(), "what somebody wrote there is the packages' to keep"
    assert not [path for path in installed.rglob("*") if path.is_dir() and not any(path.iterdir())], "empty folders"


def test_the_installed_engine_has_all_libraries_from_its_own_folder(installed):
    linked = subprocess.run(["ldd", installed / "bin/graft-engine"], capture_output=True, text=True, check=True).stdout
    own = dict(re.findall(r"(lib(?:torch|c10|gomp|cu)\S*) => (\S+)", linked))
    assert {"libtorch_cpu.so", "libc10.so", "libgomp.so.1"} <= own.keys()
    assert [path for path in own.values() if not os.path.realpath(path).startswith(str(installed / "lib/graft"))] == []


def test_a_job_runs_on_what_was_installed(installed, graft_directory):
    graft = Graft(graft_directory)
    graft.build = installed
    try:
        graft.start(workers=1)
        load(graft)
        graft.wait_for(graft.submit())
        [engine] = graft.pids("graft-engine")
        assert os.readlink(f"/proc/{engine}/exe") == str(installed / "bin/graft-engine")
    finally:
        graft.stop()


# ---- Packages ---------------------------------------------------------------------------------------------------------------

def field(package, name):
    return subprocess.run(["dpkg-deb", "--field", package, name], capture_output=True, text=True, check=True).stdout.strip()


def listed(package):
    """(mode and owner, path) of all that it has."""
    lines = subprocess.run(["dpkg-deb", "--contents", package], capture_output=True, text=True, check=True).stdout.splitlines()
    return [(" ".join(line.split()[:2]), line.split()[5].removeprefix(".")) for line in lines]


@pytest.fixture(scope="module")
def packages(tmp_path_factory):
    missing = [tool for tool in ("dpkg-deb", "dpkg-shlibdeps", "file") if shutil.which(tool) is None]
    if missing:
        pytest.skip(f"{', '.join(missing)} not installed (tools/setup --tests brings them)")
    folder = tmp_path_factory.mktemp("packages")
    subprocess.run(["cpack", "--config", BUILD / "CPackConfig.cmake", "-B", folder, "-R", "1.2.3"], check=True, capture_output=True)
    yield {field(package, "Package"): package for package in folder.glob("*.deb")}
    shutil.rmtree(folder)


@pytest.mark.full
def test_the_packages_are_what_debian_wants(packages, tmp_path):
    assert packages.keys() == {"graft", "graft-server", "graft-worker"}
    for name, package in packages.items():
        assert field(package, "Version") == "1.2.3"
        depends = field(package, "Depends")
        assert re.search(r"\blibgrpc\+\+1\S* \(>= ", depends) and re.search(r"\blibc6 \(>= ", depends), depends
        assert "libtorch" not in depends
        contents = listed(package)
        assert all(owner.endswith(" root/root") for owner, _ in contents)
        assert {mode.split()[0] for mode, path in contents if path.startswith("/usr/bin/") and path != "/usr/bin/"} == {"-rwxr-xr-x"}
        control = tmp_path / name
        subprocess.run(["dpkg-deb", "--control", package, control], check=True)
        services = name != "graft"
        assert (control / "conffiles").exists() == services
        for script in ("postinst", "prerm", "postrm"):
            assert (control / script).exists() == services
            if services:
                assert stat.S_IMODE((control / script).stat().st_mode) == 0o755
                assert "@" not in (control / script).read_text().replace('"$@"', ""), "a name that nobody filled in"
                subprocess.run(["sh", "-n", control / script], check=True)
        if services:
            assert (control / "conffiles").read_text() == f"/etc/default/{name}\n"
            assert f"/etc/default/{name}" in {path for _, path in contents}
    everything = [path for package in packages.values() for _, path in listed(package) if not path.endswith("/")]
    assert len(everything) == len(set(everything)), "a file of two packages"
