"use strict";
const headers = {};
const token = new URLSearchParams(location.hash.slice(1)).get("token");
if (token) headers.authorization = "Bearer " + token;
fetch("/api/info", { headers })
  .then((response) => response.json())
  .then((info) => {
    document.getElementById("info").textContent = JSON.stringify(info, null, 1);
  });
