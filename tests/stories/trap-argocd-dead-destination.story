# A dead cluster stays Synced and Healthy in Argo CD, and freshly reconciled: only the own probe of its API sees it.
tools argocd
set require.gitops = true
set require.api = true
at 5m  fault api in green dead
at 20m expect gate target_able closed saw its API (1 wanted): 0.00; GitOps objects not well (0 wanted): 0.00
at 25m kill blue
at 30m expect outcome held:target_able
at 30m expect holder blue
at 31m mend api
at 33m expect holder green
