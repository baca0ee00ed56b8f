# A dead controller of Argo CD leaves its applications Synced and Healthy for ever: what does not move is unknown.
set require.gitops = true
at 5m  fault argocd in green dead
at 20m expect gate target_able closed saw GitOps objects not well (0 wanted): 1.00
at 25m kill blue
at 30m expect outcome held:target_able
at 30m expect holder blue
