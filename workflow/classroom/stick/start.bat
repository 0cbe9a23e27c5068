@echo off
rem Start imago's page in the browser.
setlocal
set "IMAGO=%LOCALAPPDATA%\imago-classroom\venv\Scripts\imago.exe"
if not exist "%IMAGO%" (
  echo imago is not installed yet: double click install.bat first.
  pause
  exit /b 2
)
"%IMAGO%" studio --lesson %*
if errorlevel 1 pause
