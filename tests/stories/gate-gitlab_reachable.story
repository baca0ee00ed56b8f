# Those runners that live say that GitLab gives no usable answer: the standby polled well a moment ago, and nothing moves.
at 10m    kill blue
at 11m5s  partition green from gitlab
at 11m35s expect outcome held:gitlab_reachable
at 11m35s expect gate target_able open
at 15m    expect moves 0
at 20m    heal green
at 25m    expect holder green
