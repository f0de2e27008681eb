// Draw the charts of a report with uPlot. The page holds their data as JSON; nothing is loaded.
"use strict";
(() => {
  const GAP = -32768, ABSENT = -32767, KEPT = 600; // px around the screen in which charts are drawn
  const charts = JSON.parse(document.getElementById("charts").textContent);
  const drawn = new Map(); // element: its uPlot
  const live = document.getElementById("reading");
  const dashes = { arx: [6, 3], hold: [2, 4], low: [2, 3], high: [2, 3], s2: [6, 3], s3: [2, 4], s4: [8, 3, 2, 3], s6: [6, 3], s7: [2, 4], s8: [8, 3, 2, 3] };
  const thin = { measured: 1.3, low: 0.7, high: 0.7, near: 1.2 };
  const variables = { model: "--c1", other: "--c3", third: "--c4", arx: "--c2", hold: "--c8", measured: "--ink", free: "--c5",
    low: "--c1", high: "--c1", novelty: "--c2", near: "--c7" };

  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const paint = (style) => colour(variables[style] || "--c" + style.slice(1));

  function numbers(packed) {
    if (Array.isArray(packed)) return packed;
    if ("n" in packed) return Array.from({ length: packed.n }, (_, k) => packed.first + k * packed.step);
    const bytes = Uint8Array.from(atob(packed.b), (c) => c.charCodeAt(0));
    const view = new DataView(bytes.buffer);
    return Array.from({ length: bytes.length / 2 }, (_, k) => {
      const whole = view.getInt16(2 * k, true);
      return whole === GAP ? null : whole === ABSENT ? undefined : packed.middle + whole * packed.scale;
    });
  }

  function text(value) {
    if (value == null || !isFinite(value)) return "–";
    const size = Math.abs(value);
    const far = size !== 0 && (size >= 1e5 || size < 1e-3);
    const plain = far ? value.toExponential(2).replace(/\.?0+e/, "e").replace("e+", "e") : String(+value.toPrecision(4));
    return plain.replaceAll("-", "\u2212");
  }

  // Labels of a logarithmic axis: 1, 2, 5 of each decade, or whole decades where there are many.
  function logSplits(u, axis, low, high) {
    const from = Math.floor(Math.log10(low)), to = Math.ceil(Math.log10(high));
    const parts = to - from > 6 ? [1] : to - from > 3 ? [1, 3] : to - from > 1 ? [1, 2, 5] : [1, 1.5, 2, 3, 4, 5, 7];
    const found = [];
    for (let p = from; p <= to; p++) for (const part of parts) {
      const at = part * Math.pow(10, p);
      if (at >= low * 0.999 && at <= high * 1.001) found.push(at);
    }
    return found;
  }

  function logRange(u, low, high) {
    if (!(low > 0) || !(high > 0)) return [0.1, 1];
    const least = Math.max(low, high * 1e-6);
    return high / least < 1.5 ? [least / 1.3, high * 1.3] : [least / 1.1, high * 1.1];
  }

  function axis(chart, isX) {
    const log = isX ? chart.log_x : chart.log_y;
    return {
      stroke: () => colour("--quiet"), grid: { stroke: () => colour("--line"), width: 1 }, ticks: { stroke: () => colour("--line"), width: 1 },
      font: "12px system-ui, sans-serif", labelFont: "12px system-ui, sans-serif", space: isX ? 55 : 28, size: isX ? 34 : 58,
      ...(isX ? { label: chart.x_label, labelSize: 18, labelGap: 0 } : {}),
      values: (u, splits) => splits.map((value) => (value == null ? "" : text(value))),
      ...(log ? { splits: logSplits, filter: (u, splits) => splits } : {}),
    };
  }

  // Whether a line is shown: the legend of its group knows, where there is one.
  function isShown(element, series) {
    const buttons = element.closest("[data-group]")?.querySelectorAll("button[data-line]") ?? [];
    const button = [...buttons].find((each) => each.dataset.line === series.name);
    return button ? button.getAttribute("aria-pressed") === "true" : !series.hidden;
  }

  function line(element, series) {
    const stroke = () => paint(series.style);
    const base = {
      label: series.name, stroke, width: thin[series.style] || 1.8, dash: dashes[series.style], show: isShown(element, series),
      value: (u, value) => text(value), points: { show: !!series.points, size: 6, fill: stroke, stroke },
    };
    if (series.points) return { ...base, paths: () => null };
    if (series.bars) return { ...base, paths: uPlot.paths.bars({ size: [0.5, 6], align: 0 }), fill: stroke, points: { show: false } };
    return base;
  }

  function shade(u, chart) {
    const { ctx, bbox } = u;
    ctx.save();
    if (chart.zone != null) {
      const top = u.valToPos(chart.zone, "y", true), bottom = u.valToPos(-chart.zone, "y", true);
      ctx.globalAlpha = 0.14;
      ctx.fillStyle = colour("--c1");
      ctx.fillRect(bbox.left, Math.max(top, bbox.top), bbox.width, Math.min(bottom, bbox.top + bbox.height) - Math.max(top, bbox.top));
      ctx.globalAlpha = 1;
    }
    ctx.strokeStyle = colour("--quiet");
    ctx.setLineDash([3, 4]);
    for (const mark of chart.marks) {
      const at = u.valToPos(mark, "x", true);
      if (at < bbox.left || at > bbox.left + bbox.width) continue;
      ctx.beginPath(); ctx.moveTo(at, bbox.top); ctx.lineTo(at, bbox.top + bbox.height); ctx.stroke();
    }
    ctx.restore();
  }

  function height(element) {
    return element.classList.contains("small") ? 190 : element.classList.contains("strip") ? 190 : 280;
  }

  function follow(element, chart, u) {
    if (!chart.sync || follow.busy) return;
    follow.busy = true;
    const { min, max } = u.scales.x;
    for (const [other, plot] of drawn) if (other !== element && charts[other.dataset.chart].sync === chart.sync) plot.setScale("x", { min, max });
    follow.busy = false;
  }

  // Charts of one recording show and hide a line together.
  function toggle(element, chart, series) {
    if (!chart.sync || toggle.busy) return;
    toggle.busy = true;
    for (const [other, plot] of drawn) {
      if (other === element || charts[other.dataset.chart].sync !== chart.sync) continue;
      const k = plot.series.findIndex((each, n) => n && each.label === series.label);
      if (k > 0) plot.setSeries(k, { show: series.show });
    }
    toggle.busy = false;
  }

  function draw(element) {
    if (drawn.has(element) || !element.clientWidth) return;
    const chart = charts[element.dataset.chart];
    const rows = [numbers(chart.x), ...chart.series.map((series) => numbers(series.y))];
    const range = chart.y_range ? () => chart.y_range : chart.log_y ? logRange : undefined;
    const options = {
      width: element.clientWidth, height: height(element), padding: [8, 12, 0, 0],
      scales: { x: { time: false, ...(chart.log_x ? { distr: 3, range: (u, low, high) => [low, high] } : { distr: 1 }) }, y: { distr: chart.log_y ? 3 : 1, ...(range ? { range } : {}) } },
      axes: [axis(chart, true), axis(chart, false)],
      series: [{ label: chart.x_label, value: (u, value) => text(value) }, ...chart.series.map((series) => line(element, series))],
      bands: chart.bands.map((pair) => ({ series: pair, fill: () => colour("--shade") })),
      cursor: { drag: { x: true, y: false }, ...(chart.sync ? { sync: { key: chart.sync } } : {}) },
      hooks: { drawAxes: [(u) => shade(u, chart)], setSeries: [(u, k, options) => { if (drawn.has(element) && k && "show" in options) toggle(element, chart, u.series[k]); }],
        setScale: [(u, key) => { if (key === "x" && drawn.has(element)) follow(element, chart, u); }] },
    };
    const plot = new uPlot(options, rows, element);
    drawn.set(element, plot);
    if (element.closest(".keyed")) return; // the group has the buttons
    // one chart is no target of a screen reader's table: its legend has buttons
    for (const [k, row] of [...element.querySelectorAll(".u-legend .u-series")].entries()) {
      const head = row.querySelector("th");
      if (!k) continue;
      head.tabIndex = 0;
      head.setAttribute("role", "button");
      head.setAttribute("aria-pressed", String(plot.series[k].show));
      head.addEventListener("click", () => head.setAttribute("aria-pressed", String(plot.series[k].show)));
      head.addEventListener("keydown", (event) => {
        if (event.key !== "Enter" && event.key !== " ") return;
        event.preventDefault(); event.stopPropagation();
        head.click();
      });
    }
  }

  // The legend of a group shows and hides a line in all its charts.
  function press(button) {
    const show = button.getAttribute("aria-pressed") !== "true";
    button.setAttribute("aria-pressed", String(show));
    for (const element of button.closest("[data-group]").querySelectorAll(".chart")) {
      const plot = drawn.get(element);
      const k = plot ? plot.series.findIndex((each, n) => n && each.label === button.dataset.line) : -1;
      if (k > 0) plot.setSeries(k, { show });
    }
  }

  function erase(element) {
    const plot = drawn.get(element);
    if (plot) { plot.destroy(); drawn.delete(element); }
  }

  function zoom(element, factor) {
    const plot = drawn.get(element), x = plot.data[0];
    if (!factor) { plot.setScale("x", { min: x[0], max: x[x.length - 1] }); return; }
    const { min, max } = plot.scales.x;
    const at = plot.cursor.idx == null ? (min + max) / 2 : x[plot.cursor.idx];
    plot.setScale("x", { min: Math.max(x[0], at - (at - min) * factor), max: Math.min(x[x.length - 1], at + (max - at) * factor) });
  }

  function move(element, step) {
    const plot = drawn.get(element), x = plot.data[0], { min, max } = plot.scales.x;
    let at = plot.cursor.idx == null ? x.findIndex((value) => value >= min) : plot.cursor.idx + step;
    at = Math.min(Math.max(at, 0), x.length - 1);
    if (x[at] < min || x[at] > max) return;
    plot.setCursor({ left: plot.valToPos(x[at], "x"), top: plot.bbox.height / devicePixelRatio / 2 });
    const values = plot.series.slice(1).map((series, k) => (series.show ? series.label + " " + text(plot.data[k + 1][at]) : "")).filter(Boolean);
    live.textContent = charts[element.dataset.chart].x_label + " " + text(x[at]) + ": " + values.join(", ");
  }

  const keys = { "+": (e) => zoom(e, 0.5), "=": (e) => zoom(e, 0.5), "-": (e) => zoom(e, 2), "0": (e) => zoom(e, 0), Escape: (e) => zoom(e, 0),
    ArrowLeft: (e, far) => move(e, far ? -20 : -1), ArrowRight: (e, far) => move(e, far ? 20 : 1) };
  const every = [...document.querySelectorAll(".chart")];
  const near = new IntersectionObserver((entries) => entries.forEach((entry) => entry.isIntersecting && draw(entry.target)), { rootMargin: KEPT + "px" });
  for (const element of every) {
    near.observe(element);
    element.addEventListener("keydown", (event) => {
      if (event.target !== element || !(event.key in keys) || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      draw(element);
      keys[event.key](element, event.shiftKey);
    });
  }
  for (const button of document.querySelectorAll("button[data-line]")) button.addEventListener("click", () => press(button));
  for (const button of document.querySelectorAll("button[data-zoom]")) button.addEventListener("click", () => {
    const first = [...button.closest("figure").querySelectorAll(".chart")].find((element) => drawn.has(element));
    if (first) zoom(first, +button.dataset.zoom);
  });
  for (const choice of document.querySelectorAll("select[data-choose]")) {
    const show = () => {
      for (const part of document.querySelectorAll('[data-part="' + choice.dataset.choose + '"]')) part.hidden = part.dataset.value !== choice.value;
    };
    choice.addEventListener("change", show);
    show();
  }

  let width = innerWidth;
  addEventListener("resize", () => {
    if (innerWidth === width) return;
    width = innerWidth;
    for (const [element, plot] of drawn) if (element.clientWidth) plot.setSize({ width: element.clientWidth, height: height(element) });
  });
  function again(all) {
    const shown = all ? every.filter((element) => element.clientWidth) : [...drawn.keys()];
    for (const element of [...drawn.keys()]) erase(element);
    shown.forEach(draw);
  }
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => again(false));
  addEventListener("beforeprint", () => { document.documentElement.classList.add("light"); again(true); });
  addEventListener("afterprint", () => { document.documentElement.classList.remove("light"); again(false); });
  document.documentElement.classList.add("drawn");
})();
