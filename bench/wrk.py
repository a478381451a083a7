"""The closed loop by `wrk`, when it is installed: it takes less of the other core than we would."""

import json
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from bench.load import CONNECTIONS, Served
from bench.machine import BenchError

_SCRIPT = Path(__file__).with_name("wrk.lua")
_MARGIN_S = 15.0


def installed() -> bool:
    """Say whether this machine has `wrk`."""
    return shutil.which("wrk") is not None


def write_requests(path: Path, requests: Sequence[bytes]) -> None:
    """Write requests as the script reads them."""
    path.write_bytes(b"".join(b"%08d%b" % (len(request), request) for request in requests))


def closed_loop(authority: str, requests_path: Path, seconds: float) -> Served:
    """Send the requests of a file over and over. `wrk` counts whole seconds. Raises BenchError."""
    url = f"http://{authority}"
    command = [
        "wrk",
        "-t1",
        f"-c{CONNECTIONS}",
        f"-d{max(1, round(seconds))}s",
        "-s",
        str(_SCRIPT),
        url,
        "--",
    ]
    try:
        done = subprocess.run(
            [*command, str(requests_path)],
            capture_output=True,
            timeout=seconds + _MARGIN_S,
            check=True,
            text=True,
        )
        said = json.loads(done.stdout.splitlines()[-1])
    except (subprocess.SubprocessError, OSError, ValueError, IndexError) as error:
        raise BenchError(f"wrk failed: {error}") from None
    return Served(int(said["answers"]), int(said["failures"]), float(said["seconds"]))
