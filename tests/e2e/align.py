# SPDX-License-Identifier: MIT
"""Hold a sent stream against what was received, given the intervals that were reported uncertain.

Outside the intervals the two must be equal. Inside an interval of n bytes, any first part of it (none
to all) may have come through, and the rest is missing. Nothing may ever come twice.
"""

LOOK = 24  # bytes that must agree after an interval for a way through it to be believed


class Mismatch(AssertionError):
    pass


def align(sent, received, intervals, partial_end=False):
    """Walk both streams. intervals: (position in sent, count), sorted.

    Positions count bytes of `sent`. Returns the number of bytes missing. partial_end: received may
    stop short of the end.
    """
    i = j = missing = 0
    merged = []
    for position, count in sorted(intervals):
        if merged and position <= merged[-1][0] + merged[-1][1]:
            last = merged.pop()
            merged.append((last[0], max(last[0] + last[1], position + count) - last[0]))
        else:
            merged.append((position, count))
    for position, count in merged:
        run = position - i
        if run < 0 or sent[i:i + run] != received[j:j + run]:
            raise Mismatch(where(sent, received, i, j, run))
        i += run
        j += run
        for through in range(count, -1, -1):
            if sent[i:i + through] != received[j:j + through]:
                continue
            ahead = min(LOOK, len(sent) - i - count, len(received) - j - through)
            if sent[i + count:i + count + ahead] == received[j + through:j + through + ahead]:
                missing += count - through
                i += count
                j += through
                break
        else:
            raise Mismatch(f"no way through the interval of {count} at {position}")
    rest = min(len(sent) - i, len(received) - j)
    if sent[i:i + rest] != received[j:j + rest]:
        raise Mismatch(where(sent, received, i, j, rest))
    if len(received) - j > rest:
        raise Mismatch(f"{len(received) - j - rest} bytes more than were sent")
    if len(sent) - i > rest and not partial_end:
        raise Mismatch(f"{len(sent) - i - rest} bytes at the end are missing")
    return missing


def where(sent, received, i, j, run):
    """Where two runs part, for people."""
    for k in range(max(run, 0)):
        if sent[i + k:i + k + 1] != received[j + k:j + k + 1]:
            return (f"streams part at sent {i + k}, received {j + k}, outside any reported interval: "
                    f"{sent[i + k:i + k + 16].hex()} against {received[j + k:j + k + 16].hex()}")
    return f"an interval reported at {i + run} lies before byte {i}"


def align_gaps(sent, received, gaps):
    """For the receiving direction: at position p of `received` at most n bytes of `sent` are missing.

    gaps: (position in received, count), sorted. Returns the number of bytes missing.
    """
    i = j = 0
    merged = {}
    for position, count in gaps:
        merged[position] = merged.get(position, 0) + count
    for position, count in sorted(merged.items()):
        run = position - j
        if run < 0 or sent[i:i + run] != received[j:j + run]:
            raise Mismatch(where(sent, received, i, j, run))
        i += run
        j += run
        for lost in range(count + 1):
            ahead = min(LOOK, len(sent) - i - lost, len(received) - j)
            if sent[i + lost:i + lost + ahead] == received[j:j + ahead]:
                i += lost
                break
        else:
            raise Mismatch(f"no way through the gap of {count} at {position}")
    rest = min(len(sent) - i, len(received) - j)
    if sent[i:i + rest] != received[j:j + rest]:
        raise Mismatch(where(sent, received, i, j, rest))
    return i - j
