# A suspended Kustomization keeps its last good state for ever.
set require.gitops = true
at 5m  fault flux in green suspended
at 10m kill blue
at 15m expect outcome held:target_able
at 15m expect holder blue
at 16m mend flux
at 18m expect holder green
