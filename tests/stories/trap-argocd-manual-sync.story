# An application that does not sync by itself keeps its last good state for ever.
set require.gitops = true
at 5m  fault argocd in green manual
at 10m kill blue
at 15m expect outcome held:target_able
at 15m expect holder blue
