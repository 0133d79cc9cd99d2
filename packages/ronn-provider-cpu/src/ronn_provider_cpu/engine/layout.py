"""Words of the pool's control block; see ``executor``."""

EPOCH, CLAIM, DONE, JOB, SLEEPERS, STOP, OWNER, SYSTEM = range(0, 64, 8)
LIMIT = SYSTEM + 3
WORDS = 64
SHARE_BITS = 20
MAX_SHARES = (1 << SHARE_BITS) - 1
FUTEX, YIELD = 202, 24
WAIT_PRIVATE, WAKE_PRIVATE, EVERYBODY = 128, 129, 1 << 30


def chains(registers: int) -> int:
    """How many independent multiply-adds the kernel that measures their ceiling keeps in flight."""
    return 24 if registers >= 32 else 12
