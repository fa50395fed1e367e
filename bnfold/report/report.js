(function () {
  "use strict";
  var bar = document.querySelector(".zoom");
  if (!bar) { return; }
  bar.hidden = false;
  var factor = 1;
  function draw() {
    document.querySelectorAll(".graph").forEach(function (svg) {
      var width = svg.viewBox.baseVal.width, height = svg.viewBox.baseVal.height;
      var room = svg.parentElement.clientWidth - 8;
      var scale = factor || Math.min(1, room / width);
      svg.setAttribute("width", width * scale);
      svg.setAttribute("height", height * scale);
    });
  }
  bar.addEventListener("click", function (event) {
    var zoom = event.target.getAttribute("data-zoom");
    if (zoom === null) { return; }
    factor = Number(zoom) === 0 ? 0 : Math.max(0.1, (factor || 1) * Number(zoom));
    draw();
  });
}());
