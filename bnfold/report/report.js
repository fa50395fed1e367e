(function () {
  "use strict";
  var bar = document.querySelector(".tools");
  if (!bar) { return; }
  bar.hidden = false;
  var canvases = Array.prototype.slice.call(document.querySelectorAll(".canvas"));
  var scale = 1, fitted = false, busy = false;
  function each(selector, act) { document.querySelectorAll(selector).forEach(act); }
  function room(svg) {
    var canvas = svg.closest(".canvas");
    return (canvas.clientWidth - 4) / svg.viewBox.baseVal.width;
  }
  function draw() {
    // Both drawings at one scale, so that what stands side by side stays there.
    var fit = 1;
    each(".canvas [data-drawing]:not([hidden]) .graph", function (svg) {
      fit = Math.min(fit, room(svg));
    });
    each(".graph", function (svg) {
      var used = fitted ? fit : scale;
      svg.setAttribute("width", svg.viewBox.baseVal.width * used);
      svg.setAttribute("height", svg.viewBox.baseVal.height * used);
    });
    if (fitted) { scale = fit; }
  }
  function zoom(factor) {
    fitted = factor === 0;
    scale = factor === 1 || factor === 0 ? 1 : Math.min(4, Math.max(0.1, scale * factor));
    draw();
  }
  function shape(name) {
    each("[data-drawing]", function (part) { part.hidden = part.dataset.drawing !== name; });
    each("[data-shape]", function (button) {
      button.setAttribute("aria-pressed", String(button.dataset.shape === name));
    });
    draw();
  }
  bar.addEventListener("click", function (event) {
    var data = event.target.dataset;
    if (data.zoom !== undefined) { zoom(Number(data.zoom)); }
    if (data.shape !== undefined) { shape(data.shape); }
  });
  canvases.forEach(function (canvas) {
    canvas.addEventListener("keydown", function (event) {
      var factor = { "+": 1.25, "=": 1.25, "-": 0.8, "0": 0 }[event.key];
      if (factor === undefined || event.ctrlKey || event.metaKey) { return; }
      event.preventDefault();
      zoom(factor);
    });
    canvas.addEventListener("wheel", function (event) {
      if (!event.ctrlKey) { return; }
      event.preventDefault();
      zoom(event.deltaY < 0 ? 1.1 : 1 / 1.1);
    }, { passive: false });
    // The two scroll together.
    canvas.addEventListener("scroll", function () {
      if (busy) { return; }
      busy = true;
      canvases.forEach(function (other) {
        if (other !== canvas) {
          other.scrollTop = canvas.scrollTop;
          other.scrollLeft = canvas.scrollLeft;
        }
      });
      requestAnimationFrame(function () { busy = false; });
    });
  });
  each("a[data-shows]", function (link) {
    link.addEventListener("click", function (event) {
      var found = null;
      each("[data-drawing]:not([hidden]) [data-op]", function (node) {
        if (!found && node.dataset.op === link.dataset.shows) { found = node; }
      });
      if (!found) { return; }
      event.preventDefault();
      each(".shown", function (node) { node.classList.remove("shown"); });
      found.classList.add("shown");
      found.scrollIntoView({ block: "center", inline: "center" });
      found.focus({ preventScroll: true });
    });
  });
  fitted = true;
  draw();
  // Fitted where that stays legible; what is wider scrolls.
  if (scale < 0.75) { zoom(1); }
}());
