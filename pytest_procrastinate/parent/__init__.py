"""What runs in the pytest process: decides, collects what children tell, tells it to pytest."""
