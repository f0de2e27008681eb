"""Write a report of a model as one HTML file.

judge.py          measures all numbers
metric_values.py  reduces them to one number per metric and output
advice.py         the table of advice: meaning and next step for each value of a metric
tree.py           HTML elements, escaped when they are written
plot.py           line and stem plots as inline SVG
html.py           tables, figures with a legend, lists of advice
intervals.py      intervals around forecasts, and their measured coverage
content.py        the sections in their order
page.html         the page around the sections, with its style
"""
