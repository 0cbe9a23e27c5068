"use strict";
// The webcam, for collecting pictures of a class and for trying a model; and the answers of a model.

(() => {
  const SIDE = 640;
  let stream = null;
  let looking = 0;

  function canvasOf(video) {
    const scale = Math.min(1, SIDE / Math.max(video.videoWidth, video.videoHeight));
    const canvas = document.createElement("canvas");
    canvas.width = Math.round(video.videoWidth * scale);
    canvas.height = Math.round(video.videoHeight * scale);
    canvas.getContext("2d", { willReadFrequently: true }).drawImage(video, 0, 0, canvas.width, canvas.height);
    return canvas;
  }

  function stop() {
    looking += 1;
    stream?.getTracks().forEach((track) => track.stop());
    stream = null;
  }

  async function open(panel) {
    const said = panel.querySelector(".camera-said");
    if (!navigator.mediaDevices?.getUserMedia) {
      said.textContent = panel.dataset.insecure;
      return null;
    }
    try {
      stop();
      stream = await navigator.mediaDevices.getUserMedia({ video: { width: 1280, height: 720 }, audio: false });
    } catch {
      said.textContent = panel.dataset.refused;
      return null;
    }
    said.textContent = "";
    return attach(panel);
  }

  // The page may have been built anew meanwhile: the picture goes on in its new place.
  async function attach(panel) {
    const video = panel.querySelector("video");
    if (video.srcObject !== stream) {
      video.srcObject = stream;
      await video.play();
    }
    video.hidden = false;
    return video;
  }

  // Where pictures are collected, the page is drawn anew with every picture that has come.
  window.imagoCameraAgain = (panel) => {
    if (stream?.active && panel.dataset.set) attach(panel).catch(() => { /* drawn anew once more */ });
  };

  window.imagoCameraStop = (panel) => {
    stop();
    const video = panel.querySelector("video");
    video.srcObject = null;
    video.hidden = true;
  };

  // One picture into the class that the panel names, as a JPEG file of its own.
  window.imagoSnap = async (panel, folder) => {
    const video = stream?.active ? await attach(panel) : await open(panel);
    if (!video) return;
    const blob = await new Promise((done) => canvasOf(video).toBlob(done, "image/jpeg", 0.92));
    const name = `webcam-${Date.now()}.jpg`;
    try {
      await imagoPost("/api/upload/file", { set: panel.dataset.set, path: `${folder}/${name}` }, blob);
      imagoTell(panel, "imagosent", { set: panel.dataset.set, sent: 1, failed: 0 });
    } catch (error) {
      panel.querySelector(".camera-said").textContent = error.message;
    }
  };

  // Look and answer until the camera is stopped or the page is left; one question at a time.
  window.imagoLook = async (panel) => {
    const video = await open(panel);
    if (!video) return;
    const mine = looking;
    while (mine === looking && panel.isConnected) {
      const canvas = canvasOf(video);
      const pixels = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
      const query = { model: panel.dataset.model, width: canvas.width, height: canvas.height };
      try {
        const answer = await imagoPost("/api/upload/look", query, pixels);
        if (mine === looking) bars(panel.querySelector(".bars"), answer);
      } catch (error) {
        panel.querySelector(".camera-said").textContent = error.message;
        break;
      }
      await new Promise((done) => setTimeout(done, 60));
    }
    if (!panel.isConnected) stop();
  };

  function bars(list, answer) {
    list.replaceChildren(...answer.top.map((score, index) => {
      const item = document.createElement("li");
      const name = document.createElement("span");
      const value = document.createElement("span");
      const fill = document.createElement("i");
      name.textContent = score.shown;
      value.textContent = `${(100 * score.confidence).toFixed(1)} %`;
      fill.style.width = `${100 * score.confidence}%`;
      item.className = index ? "" : "best";
      item.append(name, value, fill);
      return item;
    }));
    list.dataset.ms = answer.ms;
  }

  // Pictures one after the other: each becomes a figure with its answer.
  window.imagoTry = async (zone, files) => {
    const place = document.getElementById("tried");
    for (const [path, file] of files.slice(0, 500)) {
      const figure = document.createElement("figure");
      const image = document.createElement("img");
      const list = document.createElement("ol");
      const caption = document.createElement("figcaption");
      list.className = "bars";
      image.alt = path;
      image.src = URL.createObjectURL(file);
      image.onload = () => URL.revokeObjectURL(image.src);
      caption.textContent = path.split("/").pop();
      figure.append(image, caption, list);
      place.prepend(figure);
      try {
        const answer = await imagoPost("/api/upload/predict", { model: zone.dataset.model }, file);
        bars(list, answer);
        figure.dataset.label = answer.top[0].label;
      } catch (error) {
        caption.textContent = error.message;
        caption.className = "bad";
      }
    }
  };
})();
