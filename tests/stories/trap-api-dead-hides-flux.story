# A cluster whose API does not answer tells nothing of what it runs: its objects are unknown, not what they were.
tools flux
set require.gitops = true
at 5m  fault api in green dead
at 10m kill blue
at 15m expect outcome held:target_able
at 15m expect gate target_able closed saw GitOps objects not well (0 wanted): 4.00
at 15m expect holder blue
