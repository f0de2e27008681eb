"use strict";
// Draws what the session sends: about 50 answers a second, a forecast now and then, counts. Ref: uPlot 1.6.
(function () {
  const about = JSON.parse(document.getElementById("told").textContent);
  const KEPT_S = 10, HEIGHT = 150, tick = 1 / about.rate_hz;
  const style = getComputedStyle(document.documentElement);
  const colour = (name) => style.getPropertyValue("--" + name).trim();
  const faint = (name) => colour(name) + "33";
  document.getElementById("about").textContent =
    `${about.source}, model ${about.bundle}, ${about.rate_hz} Hz`;

  const place = (parent, title) => {
    const panel = document.createElement("div"), head = document.createElement("h2");
    panel.className = "panel";
    head.textContent = title;
    panel.append(head);
    document.getElementById(parent).append(panel);
    return panel;
  };
  const axis = { stroke: colour("quiet"), grid: { stroke: colour("line"), width: 1 }, ticks: { stroke: colour("line") },
    font: "11px system-ui, sans-serif", size: 46 };
  const make = (panel, series, extra, data) => new uPlot(
    { width: Math.max(200, panel.clientWidth - 26), height: HEIGHT, cursor: { y: false }, axes: [{ ...axis, size: 26 }, axis],
      series: [{}, ...series], ...extra }, data, panel);
  const line = (label, name, more) => ({ label, stroke: colour(name), width: 1.5, spanGaps: true, points: { show: false }, ...more });

  // What is kept of the outputs: rows by time, the newest ten seconds.
  const times = [], measured = about.outputs.map(() => []), predicted = about.outputs.map(() => []), scores = [];
  let forecast = null, begun = null;

  const outputs = about.outputs.map((name, i) => {
    const unit = about.units[i] ? ` [${about.units[i]}]` : "";
    return make(place("outputs", name + unit), [
      line("measured", "measured"), line("predicted", "predicted", { dash: [5, 3] }), line("forecast", "forecast"),
      line("low", "forecast", { width: 0 }), line("high", "forecast", { width: 0 }),
    ], { scales: { x: { time: false } }, bands: [{ series: [5, 4], fill: faint("forecast") }], legend: { show: false } },
    [[], [], [], [], [], []]);
  });
  const bins = about.ages_ms.map((end) => "to " + end).concat("above");
  const ages = make(place("quality", "Age of the answers [ms]"),
    [{ ...line("answers", "predicted"), fill: faint("predicted"), paths: uPlot.paths.bars({ size: [0.8, 60] }) }],
    { scales: { x: { time: false, distr: 2 }, y: { range: (u, low, high) => [0, Math.max(1, high)] } },
      axes: [{ ...axis, size: 26, values: (u, at) => at.map((k) => bins[k] ? bins[k].replace("to ", "") : "") }, axis],
      legend: { show: false } },
    [bins.map((_, k) => k), bins.map(() => 0)]);
  const novelty = about.novelty && make(place("quality", "Novelty score, 1 is the threshold"),
    [line("score", "predicted"), line("threshold", "poor", { dash: [4, 4] })],
    { scales: { x: { time: false }, y: { range: (u, low, high) => [0, Math.max(1.2, high || 0)] } }, legend: { show: false } },
    [[], [], []]);

  const drop = () => {
    let n = 0;
    while (n < times.length && times[times.length - 1] - times[n] > KEPT_S) n++;
    for (const list of [times, scores, ...measured, ...predicted]) list.splice(0, n);
  };
  const take = (shot) => {
    shot.t.forEach((t, k) => {
      if (times.length && t <= times[times.length - 1]) for (const list of [times, scores, ...measured, ...predicted]) list.length = 0;
      if (begun === null || t < begun) begun = t;
      times.push(t);
      scores.push(shot.score[k]);
      about.outputs.forEach((_, i) => { measured[i].push(shot.measured[k][i]); predicted[i].push(shot.predicted[k][i]); });
    });
    drop();
    if (shot.forecast) forecast = shot.forecast;
  };
  // Merge the times of the rows and of the newest forecast, so that it stays in sight when measurements overtake it.
  const merged = (rows, ahead) => {
    const at = [];
    for (let i = 0, k = 0; i < rows.length || k < ahead.length;) {
      const row = i < rows.length && (k >= ahead.length || rows[i] <= ahead[k]);
      const both = row && k < ahead.length && rows[i] === ahead[k];
      at.push([row ? rows[i] : ahead[k], row ? i++ : -1, both || !row ? k++ : -1]);
    }
    return at;
  };
  const draw = () => {
    const newest = times.length ? times[times.length - 1] : 0;
    const shown = forecast && forecast.t[0] > newest - KEPT_S / 5 ? forecast : { t: [] };
    const at = merged(times, shown.t), x = at.map((each) => each[0] - begun);
    outputs.forEach((chart, i) => {
      const row = (list) => at.map((each) => each[1] < 0 ? null : list[i][each[1]]);
      const ahead = (key) => at.map((each) => each[2] < 0 ? null : shown[key][each[2]][i]);
      chart.setData([x, row(measured), row(predicted), ahead("y"), ahead("low"), ahead("high")]);
    });
    if (novelty) novelty.setData([times.map((t) => t - begun), scores, times.map(() => 1)]);
  };
  const count = (value) => typeof value === "number" && !Number.isInteger(value) ? value.toPrecision(3) : String(value);
  const LABELS = { p50: "age p50 ms", p99: "age p99 ms", worst: "age worst ms", rate_hz: "rate Hz" };
  const tell = (shot) => {
    const list = document.getElementById("figures"), state = document.getElementById("state");
    const answers = Object.entries(shot.statuses).map(([name, count]) => ["answers " + name, count]);
    const figures = { ...shot.figures, ...Object.fromEntries(answers) };
    list.replaceChildren(...Object.entries(figures).filter(([name]) => name !== "state").map(([name, value]) => {
      const item = document.createElement("div"), term = document.createElement("dt"), told = document.createElement("dd");
      term.textContent = LABELS[name] || name;
      told.textContent = count(["p50", "p99", "worst"].includes(name) ? value * 1000 : value);
      item.append(term, told);
      return item;
    }));
    if (shot.figures.state) state.textContent = shot.figures.state;
    state.className = "state " + (shot.figures.state === "streaming" ? "good" : "poor");
  };
  const events = new EventSource("/events");
  let shots = 0;
  events.onmessage = (event) => {
    const shot = JSON.parse(event.data);
    take(shot);
    ages.setData([bins.map((_, k) => k), shot.ages]);
    tell(shot);
    document.body.dataset.shots = String(++shots);
  };
  events.onerror = () => {
    const state = document.getElementById("state");
    state.textContent = "the session has ended, or is not reachable";
    state.className = "state poor";
  };
  const frame = () => { draw(); setTimeout(() => requestAnimationFrame(frame), 100); };
  requestAnimationFrame(frame);
  addEventListener("resize", () => [...outputs, ages, novelty].forEach((chart) => chart &&
    chart.setSize({ width: Math.max(200, chart.root.parentElement.clientWidth - 26), height: HEIGHT })));
})();
