# An operation failed and waits for its next try, again and again: its phase is Running, and nothing of it is done.
set require.gitops = true
at 5m  fault argocd in green retrying
at 10m kill blue
at 15m expect outcome held:target_able
at 15m expect gate target_able closed saw GitOps objects not well (0 wanted): 1.00
at 15m expect holder blue
at 16m mend argocd
at 18m expect holder green
