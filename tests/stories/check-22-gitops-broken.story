# 22: nor where GitOps is broken, when the fleet asks for that: its workloads may be any.
set require.gitops = true
at 9m  fault argocd in green failing
at 10m kill blue
at 15m expect outcome held:target_able
at 15m expect gate target_able closed saw GitOps objects not well (0 wanted): 1.00
at 15m expect holder blue
at 16m mend argocd
at 18m expect holder green
