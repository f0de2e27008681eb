"""A judgement of a model as one HTML file.

judge.py     what there is to say, as numbers
measures.py  the same as one number per metric and output
advice.py    what a metric's value means and what to do about it, in one table
tree.py      elements of HTML, escaped by construction
plot.py      lines and stems as inline SVG
parts.py     tables, figures under a legend, pieces of advice
intervals.py intervals around forecasts, and whether they hold
content.py   the sections, in their order
page.html    the page around them, with its style
"""
