<?php echo getmypid() . " " . ($_SERVER['REQUEST_URI'] ?? '/');
