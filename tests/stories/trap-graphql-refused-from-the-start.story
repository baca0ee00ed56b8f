# Switchyard starts anew while GraphQL is refused: REST cannot show what is below the group, and nobody knows what it hides.
# What is not seen does not look absent: nothing moves, and it says what to mend.
fleet rnd on blue green below the group
at 5m  fault gitlab graphql-refused
at 6m  crash
at 10m kill blue
at 15m expect outcome blind
at 15m expect gate gitlab_reachable closed saw REST leaves out what is below group company: allow /api/graphql
at 15m expect holder blue
at 15m expect moves 0
at 16m mend gitlab
at 20m expect holder green
