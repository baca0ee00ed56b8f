# 31: who, what, why: everything a person does is in the story.
at 10m human pauses for 1h
at 11m human resumes
at 12m human switches from blue to green
at 15m expect holder green
