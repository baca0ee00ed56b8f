# 26: the process ends when the decision is written down and nothing was done yet.
at 9m50s kill blue
at 11m15s crash after record 2
at 15m expect holder green
at 15m expect moves 1
