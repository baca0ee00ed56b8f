# 4: most clusters look dead at once: suspect the observer.
fleet rnd on blue green red
at 10m partition blue from prometheus
at 10m partition green from prometheus
at 30m expect holder blue
at 30m expect moves 0
at 20m expect outcome held:not_common_cause
