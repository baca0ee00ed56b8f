# One of three runners of blue is left: that is a death. The standby must be better by the margin.
fleet rnd on blue green with 3 runners
set thresholds.margin = 0.8
at 10m kill runner 1
at 10m kill runner 2
at 20m expect outcome held:target_stronger
at 21m kill runner 3
at 30m expect holder green
