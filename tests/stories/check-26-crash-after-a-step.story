# 26: the process ends after the DNS change, before anybody was told.
at 9m crash after step 3
at 10m kill blue
at 15m expect holder green
at 15m expect dns green
at 15m expect moves 1
