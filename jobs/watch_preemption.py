"""See lottery_ray/commands/watch_preemption.py."""

import sys

from lottery_ray.commands.watch_preemption import main

if __name__ == "__main__":
    sys.exit(main())
