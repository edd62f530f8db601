"""See lottery_ray/commands/report.py."""

import sys

from lottery_ray.commands.report import main

if __name__ == "__main__":
    sys.exit(main())
