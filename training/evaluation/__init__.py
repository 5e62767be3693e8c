"""Any data set reader with any model: `python -m training.evaluate`.

- `samples`: records of `training.readers` as samples of `zim.evaluation.benchmark`;
- `exclusion`: photographs that must not count, by name or by look;
- `journal`: what an interrupted run has measured already;
- `run`: one run over one data set or several;
- `tables`, `report`: tables in the shape of the paper, as Markdown and JSON;
- `curve`: metric against training step.
"""
