# What failed was an older revision, and since then all came into sync: that is history, and keeps nobody from the standby.
set require.gitops = true
at 5m  fault argocd in green sync-failed-before
at 10m kill blue
at 15m expect holder green
at 15m expect moves 1
