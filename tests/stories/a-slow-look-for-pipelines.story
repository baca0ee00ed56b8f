# GitLab is slow, and the look for the pipelines of a sticky fleet takes its time. Another fleet's runners come back
# meanwhile: what was seen before that look moves nothing.
fleet rnd on blue green
set sticky = true
fleet qa on blue green
set signal_hold = "2m"
set loop.period = "30s"
at 5m     human runs pipeline 7
at 10m    kill runner 1
at 10m    kill runner 2
at 13m    fault gitlab slow 12s
at 13m2s  revive runner 1
at 13m2s  revive runner 2
at 13m4s  human switches rnd from blue to green
at 14m    mend gitlab
at 14m    expect outcome held:confirmed of qa
at 20m    expect moves 0
at 21m    human ends pipeline 7
at 25m    expect holder green of rnd
at 25m    expect holder blue of qa
