"""What each part of ZIM brings, on equal budgets: `python -m training.ablation`.

- `budgets`: how much every run gets;
- `variants`: what is varied along each axis;
- `data`: training data of whole objects only;
- `runs`: train one variant with one seed, measure it on held-out scenes, resume;
- `report`: means and spread over seeds as a table, a picture and JSON.
"""
