# Behind one Thanos, the store that knows blue is out of reach: its answers are partial and say so. The alert came before
# that, and nothing is moved until an answer is whole.
at 10m kill blue
at 11m20s fault prometheus partial
at 13m expect outcome held:eyes_open
at 14m expect moves 0
at 14m mend prometheus
at 18m expect holder green
at 18m expect moves 1
