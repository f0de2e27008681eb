"""View: show a live session in a browser, or in Foxglove, Lichtblick and PlotJuggler, while it runs.

============= ====================================================================================
`feed`        takes the answers of the loop and never waits: a `rtsysid.live.loop.Sink`
`forecasts`   a forecast now and then, with its interval
`snapshot`    the values that a view shows for a tenth of a second
`viewer`      the thread that makes snapshots and hands them to the views
`web`         one page, served by the standard library
`foxglove`    topics for viewers that speak the WebSocket protocol of Foxglove
`layout`      a layout file for them
============= ====================================================================================
"""
