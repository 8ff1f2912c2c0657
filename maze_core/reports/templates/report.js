"use strict";
/* Draws the charts of a page from the data beside them. All texts are set as text, never as markup. */
(() => {
  const SVG = "http://www.w3.org/2000/svg";
  const COLORS = 8;
  const DASHES = ["", "7 4", "2 3", "7 3 2 3"];
  const SMALLEST_DRAG = 6; /* pixels; less is a click */
  const groups = new Map(); /* what charts that are zoomed together share */

  const make = (tag, attributes = {}, ...content) => {
    const svg = ["svg", "g", "path", "line", "circle", "rect", "text", "clipPath", "defs"].includes(tag);
    const node = svg ? document.createElementNS(SVG, tag) : document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (value !== null && value !== undefined) node.setAttribute(name, value);
    }
    node.append(...content);
    return node;
  };

  /* Numbers: 200k and 1.2M at axes, all that matters in tooltips. */
  const proper = (text) => text.replace(/-/g, "\u2212");
  const exactly = (value) => {
    if (value === null || value === undefined) return "\u2013";
    const size = Math.abs(value);
    if (size !== 0 && (size < 1e-4 || size >= 1e15)) return proper(value.toPrecision(4));
    const digits = Number.isInteger(value) ? 0 : Math.min(8, Math.max(0, 5 - Math.floor(Math.log10(size || 1))));
    return proper(value.toLocaleString("en-US", { maximumFractionDigits: digits }));
  };
  const tickText = (value, ticks) => {
    const largest = Math.max(...ticks.map(Math.abs));
    const step = ticks.length > 1 ? ticks[1] - ticks[0] : largest || 1;
    for (const [size, unit] of [[1e9, "G"], [1e6, "M"], [1e3, "k"]]) {
      if (largest >= 10 * size || (largest >= size && size > 1e3)) {
        return value === 0 ? "0" : proper(String(Number((value / size).toPrecision(6)))) + unit;
      }
    }
    if (largest < 1e-3) return proper(String(Number(value.toPrecision(3))));
    let digits = 0;
    while (digits < 8 && Math.abs(step - Number(step.toFixed(digits))) > step / 100) digits += 1;
    return proper(value.toLocaleString("en-US", { minimumFractionDigits: digits, maximumFractionDigits: digits }));
  };
  const niceTicks = (low, high, count) => {
    const span = high - low;
    if (!(span > 0) || !Number.isFinite(span)) return [low];
    const raw = span / Math.max(1, count);
    const power = 10 ** Math.floor(Math.log10(raw));
    const step = power * [1, 2, 2.5, 5, 10].find((factor) => factor * power >= raw * 0.999);
    const ticks = [];
    for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-9 && ticks.length < 50; i += 1) {
      ticks.push(Number((i * step).toPrecision(12)));
    }
    return ticks;
  };

  /* Position of the entry of a sorted list that is nearest to a value. */
  const nearest = (sorted, value) => {
    let low = 0;
    let high = sorted.length - 1;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (sorted[middle] < value) low = middle + 1;
      else high = middle;
    }
    return low > 0 && value - sorted[low - 1] <= sorted[low] - value ? low - 1 : low;
  };

  class Chart {
    constructor(figure, number) {
      this.figure = figure;
      this.data = JSON.parse(figure.querySelector('script[type="application/json"]').textContent);
      this.plot = figure.querySelector(".plot");
      this.live = figure.querySelector(".live");
      this.clip = `clip-${number}`;
      this.group = figure.dataset.group || `chart-${number}`;
      if (!groups.has(this.group)) groups.set(this.group, { axis: 0, range: null, charts: [] });
      this.shared = groups.get(this.group);
      this.shared.charts.push(this);
      this.hidden = new Set();
      this.cursor = null;
      this.tooltip = make("div", { class: "tooltip", hidden: "" });
      this.reset = figure.querySelector(".reset");
      this.reset.addEventListener("click", () => { this.zoom(null); this.svg.focus(); });
      this.svg = make("svg", { tabindex: 0, role: "application", "aria-roledescription": "chart" });
      this.plot.append(this.svg, this.tooltip);
      this.listen();
      this.legend();
      this.table();
      this.draw();
      new ResizeObserver(() => { if (this.width !== this.plot.clientWidth) this.draw(); }).observe(this.plot);
    }

    get curves() {
      return this.data.curves.map((curve, i) => ({ ...curve, i, at: curve.x[this.shared.axis] || curve.x[0] }))
        .filter((curve) => !this.hidden.has(curve.i) && curve.y.length);
    }

    get xLabel() { return this.data.x[this.shared.axis] || this.data.x[0]; }

    style(i) { return { class: `line k${i % COLORS}`, "stroke-dasharray": DASHES[Math.floor(i / COLORS) % 4] }; }

    /* All that is drawn depends on these: where the data is, and which part of it is shown. */
    whole() {
      let [low, high] = [Infinity, -Infinity];
      for (const { at } of this.curves) {
        for (const x of at) if (x !== null) { low = Math.min(low, x); high = Math.max(high, x); }
      }
      if (low > high) return [0, 1];
      return low === high ? [low - 0.5, high + 0.5] : [low, high];
    }

    range() {
      const whole = this.whole();
      if (!this.shared.range) return whole;
      const [low, high] = this.shared.range;
      return high < whole[0] || low > whole[1] ? whole : [low, high];
    }

    heights([left, right]) {
      let [low, high] = [Infinity, -Infinity];
      const take = (y) => { if (y !== null) { low = Math.min(low, y); high = Math.max(high, y); } };
      for (const curve of this.curves) {
        curve.at.forEach((x, n) => {
          if (x === null || x < left || x > right) return;
          take(curve.y[n]);
          if (curve.low) { take(curve.low[n]); take(curve.high[n]); }
        });
      }
      if (this.data.threshold) take(this.data.threshold.value);
      if (low > high) return [0, 1];
      if (!Number.isFinite(high - low)) return [-1, 1];
      const margin = high > low ? (high - low) * 0.05 : Math.abs(high) * 0.1 || 1;
      return [low - margin, high + margin];
    }

    draw() {
      this.width = this.plot.clientWidth;
      const width = Math.max(200, this.width);
      const height = this.figure.classList.contains("large") ? Math.min(340, Math.max(240, width * 0.45)) : 200;
      const [xs, ys] = [this.range(), this.heights(this.range())];
      const yTicks = niceTicks(ys[0], ys[1], height > 220 ? 6 : 4);
      const longest = Math.max(...yTicks.map((tick) => tickText(tick, yTicks).length));
      const box = { left: 14 + 7 * longest, right: width - 14, top: 10, bottom: height - 44 };
      const x = (value) => box.left + ((value - xs[0]) / (xs[1] - xs[0])) * (box.right - box.left);
      const y = (value) => box.bottom - ((value - ys[0]) / (ys[1] - ys[0])) * (box.bottom - box.top);
      Object.assign(this, { box, x, y, xs, inverse: (pixel) => xs[0] + ((pixel - box.left) / (box.right - box.left)) * (xs[1] - xs[0]) });
      this.area = null;
      this.svg.replaceChildren();
      for (const [name, value] of Object.entries({ viewBox: `0 0 ${width} ${height}`, width, height, "aria-label": this.description() })) {
        this.svg.setAttribute(name, value);
      }
      this.axes(box, width, height, yTicks);
      const inside = make("g", { "clip-path": `url(#${this.clip})` });
      this.curves.forEach((curve) => inside.append(...this.band(curve)));
      this.threshold(inside);
      /* The first curve lies above the others, single points above all. */
      const order = [...this.curves].reverse().sort((a, b) => (a.y.length === 1) - (b.y.length === 1));
      order.forEach((curve) => inside.append(...this.line(curve)));
      this.marks = make("g", { class: "marks" });
      this.svg.append(inside, this.marks);
      this.hide();
      this.reset.hidden = !this.shared.range;
    }

    description() {
      const names = this.curves.map((curve) => curve.label).join(", ");
      return `${this.data.title}, ${this.data.y}, over ${this.xLabel}: ${names}. Arrow keys read values, `
        + "plus and minus zoom, 0 shows all.";
    }

    axes(box, width, height, yTicks) {
      const { svg, xs, x, y } = this;
      const beyond = this.shared.range ? 0 : 5; /* room for dots at the ends */
      svg.append(make("defs", {}, make("clipPath", { id: this.clip },
        make("rect", { x: box.left - beyond, y: box.top - 5, width: box.right - box.left + 2 * beyond, height: box.bottom - box.top + 10 }))));
      for (const tick of yTicks) {
        svg.append(make("line", { class: "rule", x1: box.left, x2: box.right, y1: y(tick), y2: y(tick) }),
          make("text", { class: "tick", x: box.left - 8, y: y(tick) + 4, "text-anchor": "end" }, tickText(tick, yTicks)));
      }
      let xTicks = niceTicks(xs[0], xs[1], (box.right - box.left) / 80);
      if (this.curves.every(({ at }) => at.every((v) => v === null || Number.isInteger(v)))) {
        xTicks = xTicks.filter(Number.isInteger);
      }
      for (const tick of xTicks) {
        const place = Math.min(x(tick), width - 3.5 * tickText(tick, xTicks).length - 2);
        svg.append(make("line", { class: "axis", x1: x(tick), x2: x(tick), y1: box.bottom, y2: box.bottom + 4 }),
          make("text", { class: "tick", x: place, y: box.bottom + 18, "text-anchor": "middle" }, tickText(tick, xTicks)));
      }
      svg.append(make("line", { class: "axis", x1: box.left, x2: box.right, y1: box.bottom, y2: box.bottom }),
        make("text", { class: "label", x: (box.left + box.right) / 2, y: height - 6, "text-anchor": "middle" }, this.xLabel));
      if (!this.curves.length) {
        svg.append(make("text", { class: "label", x: width / 2, y: height / 2, "text-anchor": "middle" }, "nothing is shown"));
      }
    }

    /* Stretches of a curve without gaps, as pixels. */
    stretches(curve, ...lines) {
      const found = [];
      let open = null;
      curve.at.forEach((at, n) => {
        const values = lines.map((line) => line[n]);
        if (at === null || values.includes(null)) { open = null; return; }
        if (!open) found.push(open = []);
        open.push([this.x(at), ...values.map(this.y)]);
      });
      return found;
    }

    line(curve) {
      return this.stretches(curve, curve.y).map((points) => {
        const style = this.style(curve.i);
        if (points.length === 1) return make("circle", { class: `dot k${curve.i % COLORS}`, cx: points[0][0], cy: points[0][1], r: 4 });
        return make("path", { ...style, d: "M" + points.map(([px, py]) => `${px.toFixed(1)},${py.toFixed(1)}`).join("L") });
      });
    }

    band(curve) {
      if (!curve.low) return [];
      return this.stretches(curve, curve.low, curve.high).map((points) => {
        if (points.length === 1) {
          const [px, low, high] = points[0];
          return make("path", { class: `line thin k${curve.i % COLORS}`, d: `M${px},${low}V${high}M${px - 4},${low}h8M${px - 4},${high}h8` });
        }
        const up = points.map(([px, low]) => `${px.toFixed(1)},${low.toFixed(1)}`);
        const back = points.map(([px, , high]) => `${px.toFixed(1)},${high.toFixed(1)}`).reverse();
        return make("path", { class: `band k${curve.i % COLORS}`, d: `M${up.join("L")}L${back.join("L")}Z` });
      });
    }

    threshold(inside) {
      if (!this.data.threshold) return;
      const { box, data: { threshold }, y } = this;
      const height = y(threshold.value);
      inside.append(make("line", { class: "threshold", x1: box.left, x2: box.right, y1: height, y2: height }));
      const below = height - 6 < box.top + 10;
      this.svg.append(make("text", { class: "threshold-label", x: box.left + 6, y: below ? height + 14 : height - 6 },
        `${threshold.label} ${exactly(threshold.value)}`));
    }

    legend() {
      const { curves } = this.data;
      const box = this.figure.querySelector(".legend");
      if (curves.length < 2) return;
      curves.forEach((curve, i) => {
        if (!curve.y.length) return;
        const swatch = make("svg", { width: 22, height: 10, "aria-hidden": "true" },
          curve.y.length === 1 ? make("circle", { class: `dot k${i % COLORS}`, cx: 11, cy: 5, r: 4 })
            : make("path", { ...this.style(i), d: "M1,5H21" }));
        const button = make("button", { type: "button", "aria-pressed": "true" }, swatch, make("span", {}, curve.label));
        button.addEventListener("click", () => {
          if (!this.hidden.delete(i)) this.hidden.add(i);
          button.setAttribute("aria-pressed", String(!this.hidden.has(i)));
          this.draw();
        });
        box.append(button);
      });
    }

    table() {
      const details = this.figure.querySelector("details.data");
      details.hidden = false;
      details.addEventListener("toggle", () => { if (details.open) this.fill(details); });
    }

    fill(details) {
      const row = (tag, cells) => make("tr", {}, ...cells.map((cell, i) => make(i ? tag : "th", { class: "number", scope: tag === "th" ? "col" : i ? null : "row" }, cell)));
      const old = details.querySelector(".scroll");
      if (old) old.remove();
      const tables = this.data.curves.filter((curve) => curve.y.length).map((curve) => {
        const names = [this.xLabel, "value", ...(curve.low ? ["low", "high"] : [])];
        const at = curve.x[this.shared.axis] || curve.x[0];
        const rows = at.map((x, n) => row("td", [x, curve.y[n], ...(curve.low ? [curve.low[n], curve.high[n]] : [])].map(exactly)));
        const caption = curve.left_out ? `${curve.label} (${curve.left_out.toLocaleString("en-US")} points between these are left out)` : curve.label;
        return make("table", {}, make("caption", {}, caption), make("thead", {}, row("th", names)), make("tbody", {}, ...rows));
      });
      details.append(make("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": `Data of ${this.data.title}` }, ...tables));
    }

    /* Reading values: the cursor stands at a position that some curve has. */
    positions() {
      const [left, right] = this.xs;
      const all = new Set(this.curves.flatMap(({ at }) => at.filter((x) => x !== null && x >= left && x <= right)));
      return [...all].sort((a, b) => a - b);
    }

    show(position, spoken) {
      Object.assign(this, { cursor: position, byKeys: spoken });
      const rows = [];
      this.marks.replaceChildren(make("line", { class: "cursor", x1: this.x(position), x2: this.x(position), y1: this.box.top, y2: this.box.bottom }));
      for (const curve of this.curves) {
        const n = nearest(curve.at, position);
        const within = curve.at[0] <= position && position <= curve.at[curve.at.length - 1];
        if (curve.y[n] === null || (!within && Math.abs(this.x(curve.at[n]) - this.x(position)) > 10)) continue;
        const elsewhere = curve.at[n] === position ? "" : ` at ${exactly(curve.at[n])}`;
        const band = curve.low ? ` (${exactly(curve.low[n])} to ${exactly(curve.high[n])})` : "";
        rows.push({ curve, value: exactly(curve.y[n]), rest: band + elsewhere });
        this.marks.append(make("circle", { class: `dot k${curve.i % COLORS}`, cx: this.x(curve.at[n]), cy: this.y(curve.y[n]), r: 4 }));
      }
      const head = `${this.xLabel}: ${exactly(position)}`;
      this.tooltip.replaceChildren(make("div", { class: "at" }, head), ...rows.map(({ curve, value, rest }) =>
        make("div", {}, make("i", { class: `k${curve.i % COLORS}` }), `${curve.label} `, make("b", {}, value), rest)));
      this.tooltip.hidden = false;
      const { clientWidth } = this.tooltip;
      const scale = this.plot.clientWidth / Math.max(200, this.width);
      const at = this.x(position) * scale;
      const left = at + 14 + clientWidth > this.plot.clientWidth ? at - 14 - clientWidth : at + 14;
      this.tooltip.style.left = `${Math.max(0, Math.min(left, this.plot.clientWidth - clientWidth))}px`;
      if (spoken) this.live.textContent = `${head}. ${rows.map(({ curve, value, rest }) => `${curve.label} ${value}${rest}`).join("; ")}`;
    }

    hide() {
      this.cursor = null;
      this.tooltip.hidden = true;
      this.marks.replaceChildren();
    }

    /* Zooming: all charts of the group follow. */
    zoom(range) {
      this.shared.range = range;
      this.shared.charts.forEach((chart) => chart.draw());
      if (!this.live) return;
      this.live.textContent = range ? `Shown: ${exactly(range[0])} to ${exactly(range[1])}, ${this.xLabel}` : "All is shown";
    }

    scale(factor) {
      const [left, right] = this.xs;
      const [low, high] = this.whole();
      const center = this.cursor === null ? (left + right) / 2 : this.cursor;
      const next = [center - (center - left) * factor, center + (right - center) * factor];
      if (factor > 1 && next[0] <= low && next[1] >= high) this.zoom(null);
      else if (next[1] - next[0] > (high - low) / 1e6) this.zoom(next);
    }

    listen() {
      const { svg } = this;
      const pixel = (event) => {
        const box = svg.getBoundingClientRect();
        return ((event.clientX - box.left) / box.width) * svg.viewBox.baseVal.width;
      };
      const inside = (place) => Math.min(this.box.right, Math.max(this.box.left, place));
      let from = null;
      svg.addEventListener("pointerdown", (event) => {
        if (event.pointerType === "touch" || event.button !== 0) return;
        from = inside(pixel(event));
        svg.setPointerCapture(event.pointerId);
      });
      svg.addEventListener("pointermove", (event) => {
        const place = inside(pixel(event));
        if (from !== null && Math.abs(place - from) > SMALLEST_DRAG) {
          if (!this.area) svg.append(this.area = make("rect", { class: "area", y: this.box.top, height: this.box.bottom - this.box.top }));
          this.area.setAttribute("x", Math.min(from, place));
          this.area.setAttribute("width", Math.abs(place - from));
        }
        const positions = this.positions();
        if (positions.length) this.show(positions[nearest(positions, this.inverse(place))], false);
      });
      svg.addEventListener("pointerup", (event) => {
        if (from === null) return;
        const ends = [from, inside(pixel(event))].sort((a, b) => a - b);
        from = null;
        if (ends[1] - ends[0] > SMALLEST_DRAG) this.zoom(ends.map(this.inverse));
        else if (this.area) { this.area.remove(); this.area = null; }
      });
      svg.addEventListener("pointercancel", () => { from = null; if (this.area) this.area.remove(); this.area = null; });
      svg.addEventListener("pointerleave", () => { if (from === null && !this.byKeys) this.hide(); });
      svg.addEventListener("dblclick", () => this.zoom(null));
      svg.addEventListener("blur", () => this.hide());
      svg.addEventListener("keydown", (event) => this.key(event));
    }

    key(event) {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      const positions = this.positions();
      const last = positions.length - 1;
      const now = this.cursor === null ? -1 : nearest(positions, this.cursor);
      const steps = {
        ArrowRight: Math.min(now + 1, last), ArrowLeft: now < 0 ? last : Math.max(now - 1, 0), Home: 0, End: last,
        PageDown: Math.min(Math.max(now, 0) + 10, last), PageUp: Math.max(now - 10, 0),
      };
      if (event.key in steps) { if (last >= 0) this.show(positions[steps[event.key]], true); }
      else if (event.key === "+" || event.key === "=") this.scale(0.5);
      else if (event.key === "-") this.scale(2);
      else if (event.key === "0") this.zoom(null);
      else if (event.key === "Escape") this.hide();
      else return;
      event.preventDefault();
    }
  }

  const copied = async (button, text) => {
    try {
      await navigator.clipboard.writeText(text);
    } catch (error) { /* a page that was opened as a file may not be allowed to */
      const field = make("textarea");
      field.value = text;
      document.body.append(field);
      field.select();
      document.execCommand("copy");
      field.remove();
    }
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  };

  const start = () => {
    document.querySelectorAll("figure.chart").forEach((figure, number) => new Chart(figure, number));
    document.querySelectorAll("fieldset.axis").forEach((choice) => {
      choice.hidden = false;
      choice.addEventListener("change", (event) => {
        const group = groups.get(choice.dataset.group);
        if (!group) return;
        Object.assign(group, { axis: Number(event.target.value), range: null });
        group.charts.forEach((chart) => {
          chart.draw();
          const details = chart.figure.querySelector("details.data");
          if (details.open) chart.fill(details);
        });
      });
    });
    document.querySelectorAll("button.copy").forEach((button) => {
      button.hidden = false;
      button.addEventListener("click", () => copied(button, button.closest(".code").querySelector("code").textContent));
    });
    /* A link into something closed opens it. */
    const open = () => {
      const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
      for (let node = target; node; node = node.parentElement) if (node.tagName === "DETAILS") node.open = true;
      if (target) target.scrollIntoView();
    };
    window.addEventListener("hashchange", open);
    if (location.hash) open();
  };
  start();
})();
