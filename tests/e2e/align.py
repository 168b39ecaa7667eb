# SPDX-License-Identifier: MIT
"""Hold a sent stream against what was received, given the intervals that were reported uncertain.

Outside the intervals the two must be equal. Inside an interval of n bytes, any first part of it (none
to all) may have come through, and the rest is missing. Nothing may ever come twice.
"""


class Mismatch(AssertionError):
    pass


def align(sent, received, intervals, partial_end=False):
    """Walk both streams. intervals: (position in sent, count).

    Returns the number of bytes missing. partial_end: received may stop short of the end.
    """
    merged = []
    for position, count in sorted(intervals):
        if merged and position <= sum(merged[-1]):
            first, length = merged.pop()
            merged.append((first, max(length, position + count - first)))
        else:
            merged.append((position, count))
    i, ways = 0, [0]  # where we are in sent, and all places in received where that can be
    for position, count in merged:
        ends = follow(sent, received, [(i, j) for j in ways], position - i)
        ways = sorted({j + through for at, j in ends for through in range(count + 1)
                       if sent[at:at + through] == received[j:j + through]})
        i = position + count
    return rest(sent, received, [(i, j) for j in ways], partial_end)


def align_gaps(sent, received, gaps):
    """For the receiving direction: at position p of `received` at most n bytes of `sent` are missing.

    gaps: (position in received, count). Returns the number of bytes missing.
    """
    j, ways = 0, [0]  # where we are in received, and all places in sent where that can be
    for position, count in sorted(gaps):
        ends = follow(sent, received, [(i, j) for i in ways], position - j)
        ways = sorted({i + lost for i, _ in ends for lost in range(count + 1)})
        j = position
    return rest(sent, received, [(i, j) for i in ways], True)


def follow(sent, received, ways, run):
    """Of several ways (place in sent, place in received), those equal for so long, at their ends."""
    if run < 0:
        raise Mismatch(f"an interval is reported {-run} bytes too early, at sent {ways[0][0] + run}")
    found = [(i + run, j + run) for i, j in ways
             if len(received) >= j + run and sent[i:i + run] == received[j:j + run]]
    if not found:
        raise Mismatch(where(sent, received, ways, run))
    return found


def rest(sent, received, ways, partial_end):
    """What comes after the last interval: the number of bytes missing before it."""
    longest = []
    for i, j in ways:
        run = min(len(sent) - i, len(received) - j)
        if sent[i:i + run] == received[j:j + run]:
            longest.append((len(sent) - i - run, len(received) - j - run, i - j))
    if not longest:
        raise Mismatch(where(sent, received, ways, len(sent)))
    short, more, missing = min(longest)
    if more:
        raise Mismatch(f"{more} bytes more than were sent")
    if short and not partial_end:
        raise Mismatch(f"{short} bytes at the end are missing")
    return missing


def where(sent, received, ways, run):
    """Where two runs part that should be equal, for people: the way that leads farthest."""
    def equal(i, j):
        k = 0
        while k < run and i + k < len(sent) and sent[i + k:i + k + 1] == received[j + k:j + k + 1]:
            k += 1
        return k

    k, i, j = max((equal(i, j), i, j) for i, j in ways)
    return (f"streams part at sent {i + k}, received {j + k}, outside any reported interval "
            f"(the last one ended at sent {i}, received {j}): "
            f"{sent[i + k:i + k + 16].hex()} against {received[j + k:j + k + 16].hex()}")
