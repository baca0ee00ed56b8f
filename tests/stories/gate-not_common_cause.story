# Two of three clusters look dead at once: more likely it is the observer. The third one would be able.
fleet rnd on blue green red
at 10m kill blue
at 10m kill red
at 20m expect outcome held:not_common_cause
at 20m expect gate target_able open
at 20m expect moves 0
at 20m expect holder blue
