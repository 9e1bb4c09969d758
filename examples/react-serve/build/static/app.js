document.getElementById('root').textContent = `You asked for ${location.pathname}`;
