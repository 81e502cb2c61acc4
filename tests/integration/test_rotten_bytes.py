"""A bit that flips in a stored file is noticed, mended or harmless: no job ends with another adapter, and none is handed out.

GRAFT_FLIPS sets how many are flipped, one at a time (12; each costs a job or a download)."""

import os
import random
import stat

import pytest

from test_survival import adapter_hash

FLIPS = int(os.environ.get("GRAFT_FLIPS", 12))


def flip(path, place):
    """Flips that bit of the file, in place, as a disk would."""
    mode = path.stat().st_mode
    path.chmod(mode | stat.S_IWUSR)
    with open(path, "r+b") as file:
        file.seek(place // 8)
        byte = file.read(1)[0]
        file.seek(place // 8)
        file.write(bytes([byte ^ (1 << place % 8)]))
    path.chmod(mode)


def files_below(directory):
    return sorted(path for path in directory.rglob("*") if path.is_file() and not path.is_symlink())


@pytest.mark.full
def test_no_flipped_bit_changes_an_adapter(loaded):
    graft = loaded
    seed = int(os.environ.get("GRAFT_FLIP_SEED", random.SystemRandom().randrange(1 << 30)))
    dice = random.Random(seed)
    graft.wait_for(graft.submit("--output-name", "whole"))
    whole = adapter_hash(graft, "whole")
    blobs = files_below(graft.directory / "data/artifacts/blobs/objects")
    tokens = files_below(graft.directory / "data/workers/1/cache/tokens")
    assert blobs and tokens
    seen = {"noticed": 0, "harmless": 0, "mended": 0}
    for number in range(FLIPS):
        path = dice.choice(blobs if number % 4 else tokens)
        right = path.read_bytes()
        place = dice.randrange(path.stat().st_size * 8)
        flip(path, place)
        where = f"seed {seed}: bit {place} of {path}"
        name = graft.submit("--output-name", f"flipped-{number}")
        job = graft.wait_for(name, "SUCCEEDED", "FAILED")
        if job["state"] == "JOB_STATE_SUCCEEDED":
            assert adapter_hash(graft, f"flipped-{number}") == whole, where
        else:
            assert path.name[:16] in str(job["error"]), f"{where}: {job['error']}"
            seen["noticed"] += 1
        # What is stored of the first adapter is handed out as it was, or not at all.
        target = graft.directory / f"again-{number}"
        download = graft.cli("adapters", "download", "whole", "--to", target, check=False)
        if download.returncode == 0:
            assert (target / "adapter_model.safetensors").read_bytes() == (graft.directory / "adapter-whole/adapter_model.safetensors").read_bytes(), where
            seen["harmless"] += job["state"] == "JOB_STATE_SUCCEEDED"
        else:
            assert path.name[:16] in download.stderr, f"{where}: {download.stderr}"
            seen["noticed"] += 1
        # Uploaded again, or made again, it is right already.
        if path.read_bytes() == right:
            seen["mended"] += 1
        else:
            flip(path, place)
            assert path.read_bytes() == right, where
    print(f"\nseed {seed}: {FLIPS} bits flipped, {seen}")

