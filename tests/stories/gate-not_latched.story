# A move that failed is not followed by another one, though the next cluster dies: a person looks first.
set cool_down = "1m"
set move_deadline = "5m"
at 9m  fault dns refused
at 10m kill blue
at 12m revive blue
at 25m kill green
at 30m expect outcome held:not_latched
at 30m expect latched
at 30m expect moves 1
