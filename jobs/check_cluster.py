"""See lottery_ray/commands/check_cluster.py."""

import sys

from lottery_ray.commands.check_cluster import main

if __name__ == "__main__":
    sys.exit(main())
