"""`python -m sharpbench ARGS`: the program itself.

Example:
    python -m sharpbench list
"""

import os
import subprocess
import sys

from sharpbench._errors import SharpbenchError
from sharpbench._program import find_program


def main() -> int:
    """Run the program with the arguments of this process.

    Returns:
        The program's exit code on Windows; elsewhere the program replaces this process.
    """
    try:
        program = str(find_program())
    except SharpbenchError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    command = [program, *sys.argv[1:]]
    if sys.platform != "win32":
        # In place of this process, so that signals reach the program itself.
        os.execv(program, command)
    return subprocess.run(command, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
