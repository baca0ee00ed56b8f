# No sample is no evidence: without an exporter nobody knows anything of the standby, and nothing is well.
set require.gitops = true
at 5m  fault exporter in green dead
at 10m kill blue
at 15m expect outcome held:target_able
at 15m expect gate target_able closed saw GitOps objects not well (0 wanted): inconclusive
at 15m expect holder blue
