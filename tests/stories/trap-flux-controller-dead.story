# Dead controllers of Flux leave everything Ready: a Kustomization is known by when it was applied last, its source by
# requests that it answered.
set require.gitops = true
at 5m  fault flux in green dead
at 50m expect gate target_able closed saw GitOps objects not well (0 wanted): 2.00
at 51m kill blue
at 55m expect outcome held:target_able
at 55m expect holder blue
