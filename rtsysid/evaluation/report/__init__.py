"""Write a report of models as one HTML file.

observed.py       runs a model over the recordings once, and keeps its predictions
quantities.py     shows outputs as a person reads them: a quaternion is one rotation
judge.py          measures all numbers
study.py          sets up the search for causes: errors next to what may explain them
causes.py         names what explains the error; explained.py, lags.py, offsets.py and ringing.py measure it
verdict.py        says in one sentence how far ahead a model is of use
response.py       step and frequency responses; coverage.py compares with training; unused.py reads other columns
metric_values.py  reduces the numbers to one per metric and output
advice.py         the table of advice: meaning and next step for each value of a metric
judged.py         one model of a page
content.py        the page; timeline.py, evidence.py and intervals.py are its sections
chart.py          charts as data; interactive.py puts them into a page with their scripts
assets/           the scripts and styles; uplot/ holds uPlot 1.6.32 with its licence
tree.py, html.py  HTML elements, escaped when they are written; plot.py draws SVG for pages without scripts
page.html         the page around the sections, with its style
"""
